"""What a supervised token costs: divergences, the table of losses, the chunked language head."""
