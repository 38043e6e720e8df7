"""Line editing on a terminal while other lines are printed, and the view of a console operator."""
