"""The Train tab: the form, the planner's verdict, the queue and the monitor."""
