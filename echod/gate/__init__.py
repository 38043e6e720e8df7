"""Who may, and how much: access lists, caps, token buckets, the loop guard. Pure; every clock is handed in."""
