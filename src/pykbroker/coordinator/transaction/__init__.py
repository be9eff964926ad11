"""Pure rules of the transaction coordinator."""
