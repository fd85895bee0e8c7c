"""The demonstration: the main job on embedded servers, for who has no PostgreSQL at hand."""
