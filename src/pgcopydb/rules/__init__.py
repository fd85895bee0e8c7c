"""Pure decisions: how tables are cut, published and routed, what is restored when."""
