"""A job of several ranks: processes that torchrun starts, and that compute as one.

The child of the attempt has torchrun fork a process for each rank; everything is loaded in it already. Ranks connect to
a socket in the attempt's folder and speak the messages of protocol.py over it. The kernel ends torchrun with the child,
and the ranks with torchrun. They inherit the locks of the GPUs, which are held until the last of them has ended.
"""
