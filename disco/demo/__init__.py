"""Demonstrations: real data, a real server, and each participant in a process of its own.

    disco demo breast_cancer      federated: through the server
    disco demo digits             decentralized: peer to peer

Each participant trains the task's own model on its own part of the data, together with the others and, for
comparison, alone. Both are judged on examples that nobody trained on.
"""
