"""Observers that tests watch with."""

import collections

import numpy as np

from minigrad import Observer


class Calls(Observer):
    """How often the VJPs of each op were called."""

    def __init__(self):
        self.vjps = collections.Counter()

    def vjp_starts(self, node, grad):
        self.vjps[node.op] += 1


class Log(Observer):
    """Everything an observer hears of, in order."""

    def __init__(self):
        self.events = []

    def op_starts(self, name, args, static):
        self.events.append(("op starts", name, args, static))

    def op_ends(self, name, args, static, result):
        self.events.append(("op ends", name, args, static, result))

    def vjp_starts(self, node, grad):
        self.events.append(("vjp starts", node.op, np.array(grad)))

    def vjp_ends(self, node, grad, contributions):
        self.events.append(("vjp ends", node.op, np.array(grad), contributions))

    def leaf(self, leaf, grad):
        self.events.append(("leaf", leaf.name, np.array(grad)))

    def cut(self, how, tensor):
        self.events.append(("cut", how, tensor))

    def names(self):
        return [f"{what} {name}" for what, name, *_ in self.events]
