"""What runs batches: the model in this process, or in processes of its own."""
