"""What people see and press: panels, operators, properties, preferences."""
