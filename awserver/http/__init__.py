"""/api/1 over HTTP: bytes become typed calls, answers and errors become bytes."""
