"""Cards of fields, tables and buttons that an application is worked with."""
