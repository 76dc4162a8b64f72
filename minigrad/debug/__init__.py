"""Looking inside a running computation: what was computed, why a gradient is what it is, where the time goes."""
