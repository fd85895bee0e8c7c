"""The base copy: one file a step, and ``run`` is the list of the steps in their order."""
