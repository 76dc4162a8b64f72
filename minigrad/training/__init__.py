"""Around the training loop.

checkpoint   a training run in a file, from which it continues to the same last bit
archive      the file itself: written whole or not at all, and read with suspicion
parallel     training in several processes, on one machine or many: the mean of gradients
ranks        how these processes check each other, and stop together
text         characters as numbers, batches of text, and some text to begin with
"""
