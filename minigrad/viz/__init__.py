"""Seeing it: graphs, recordings, the step page, attention maps."""

from minigrad.viz.drawing import graph
from minigrad.viz.heatmaps import heatmap
from minigrad.viz.step_page import page
from minigrad.viz.tape import record
from minigrad.viz.text_tree import tree
