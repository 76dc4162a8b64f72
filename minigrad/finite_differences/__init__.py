"""Is a gradient right? `gradcheck` asks the function itself, by moving each input a little."""

from minigrad.finite_differences.check import gradcheck as gradcheck
from minigrad.finite_differences.report import GradientError as GradientError
from minigrad.finite_differences.report import GradientReport as GradientReport
