"""What a recipe needs on this machine, before it starts: memory, disk, time; whether it fits; what would make it fit.

`plan` computes it in this process, `service` in a separate one, which everything but the command `plan` uses. Nothing
here downloads weights.
"""
