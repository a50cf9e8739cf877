"""How a model and what it is compared with are measured, one file for each way that rows are answered.

Each file offers `measure(sides, rows, wanted) -> (number of rows, {side: {metric: value}})`.
"""
