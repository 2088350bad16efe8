"""Teachers for when there is no frontier model: trained here, on gold."""
