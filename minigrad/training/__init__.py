"""Around a training run: texts as batches of ids, and checkpoints from which it goes on."""
