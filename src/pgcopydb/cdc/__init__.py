"""Change data capture: from a slot on the source to rows on the target, nothing lost."""
