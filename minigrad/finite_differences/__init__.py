"""Is a gradient right? `gradcheck` asks the function itself, by moving each input a little."""

from minigrad.finite_differences.check import GradientError as GradientError
from minigrad.finite_differences.check import GradientReport as GradientReport
from minigrad.finite_differences.check import gradcheck as gradcheck
