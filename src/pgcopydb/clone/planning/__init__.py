"""What there is to do in a base copy, decided from the catalogue before anything is done."""
