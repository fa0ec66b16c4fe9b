"""The statements that read and load a table elsewhere, made from the Run schema and the table's place."""
