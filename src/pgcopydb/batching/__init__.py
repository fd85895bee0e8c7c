"""From transactions to batches: the net effect of many changes, table by table. Pure."""
