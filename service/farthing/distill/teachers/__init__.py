"""Teachers for when there is no frontier model: trained here, on gold. And what to do with all teachers' answers."""
