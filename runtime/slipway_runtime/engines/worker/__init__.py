"""The model in processes of its own: started, fed through shared memory, watched and restarted."""
