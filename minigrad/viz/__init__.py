"""Seeing it: what was computed, what came back, and who attended to whom.

graph     a picture of what a Tensor was computed from      viz.graph(loss, depth=2).save("graph.svg")
tree      the same as text, for terminals                   print(viz.tree(loss))
record    keep values and gradients, to draw them too       with viz.record() as tape: ...
page      walk through a recorded step in a browser         viz.page(tape, "walk.html")
heatmap   attention weights with their tokens               viz.heatmap(weights, tokens).save("map.svg")
lab       scores to drag: weights, and what comes back      viz.lab("lab.html")
replay    how weights change in training                    viz.replay(runs, "replay.html"), a viz.Run each

Reading order: history (what happened), repeats (loops in it), cuts (where no gradient goes on), boxes (what is drawn),
drawing (boxes to DOT), layout (DOT to SVG), step_page. words has what they share: how shapes and numbers are told.
"""

from minigrad.viz.drawing import graph as graph
from minigrad.viz.heatmaps import heatmap as heatmap
from minigrad.viz.lab import lab as lab
from minigrad.viz.replay import Run as Run
from minigrad.viz.replay import replay as replay
from minigrad.viz.step_page import page as page
from minigrad.viz.tape import Tape as Tape
from minigrad.viz.tape import record as record
from minigrad.viz.text_tree import tree as tree
