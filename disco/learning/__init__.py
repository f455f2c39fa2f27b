"""Training a task's own model on a participant's own examples, with scikit-learn or PyTorch.

Beside the server and the participants, and needed by neither: ``disco join`` is made of this.
"""
