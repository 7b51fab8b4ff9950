"""What the demo and the end-to-end tests set up alike: images, a store, a trained model, the installed chart."""
