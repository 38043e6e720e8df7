"""Access lists, limits, token buckets and the loop guard. Pure: every clock is an argument."""
