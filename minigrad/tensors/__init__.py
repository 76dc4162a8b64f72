"""What a Tensor is besides its place in the graph: its memory, its operators, and what is switched on around it."""
