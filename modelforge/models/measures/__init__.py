"""How a model and its base are measured on rows, one file for each way that rows are answered.

Each file offers `measure(sides, rows, wanted) -> (rows measured with, {side: {metric: value}})`.
"""
