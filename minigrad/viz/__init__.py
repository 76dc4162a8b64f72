from minigrad.viz.drawing import graph
