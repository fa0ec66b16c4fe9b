"""Tests of what MySQL and MariaDB alone do."""
