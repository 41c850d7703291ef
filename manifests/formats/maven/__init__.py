"""``maven``: repositories of Java artifacts, as Maven, Gradle, Ivy and IDEs read them."""
