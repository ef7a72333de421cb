"""The operator's side of the controller's HTTP interface: connection, requests, tables."""
