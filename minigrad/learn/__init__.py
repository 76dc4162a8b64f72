"""Learn by doing: `python -m minigrad exercises` grades what you write, and `explain softmax` shows an op's page.

Reading order: catalogue (which exercises there are), op_grader (how an op is graded), graders and bugs (the others),
grading, attempt (running what somebody wrote), command (the exercises in a terminal); pages, wrong_answers, explain.
"""
