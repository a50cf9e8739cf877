"""What a training step on a processor computes element by element: in torch, or by kernels of our own.

`plain.py` is every function in torch. `compiled.py` has the same functions by a library that `build.py` makes of
`kernels.cpp`, where there is a compiler: each is one pass over memory, where torch takes three to six.
"""
