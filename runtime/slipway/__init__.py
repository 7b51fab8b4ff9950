"""What a user types and imports: the `slipway` command."""
