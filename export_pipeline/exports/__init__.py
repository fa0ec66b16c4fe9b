"""What was asked and how far it is: control database, day leases, publishing a day, planning."""
