"""Network drivers: how an endpoint of each kind of network is plugged in and joined."""
