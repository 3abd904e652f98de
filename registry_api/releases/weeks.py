"""ISO weeks as the releases name them: their first days, and the weeks before one. Pure."""

from datetime import date, timedelta

WEEK = timedelta(days=7)


def monday_of(week: str) -> date:
    """Return the first day of an ISO week.

    Raises:
        ValueError: If the year has no such week.
    """
    return date.fromisocalendar(int(week[:4]), int(week[6:]), 1)


def week_of(day: date) -> str:
    """Return the ISO week of a day."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def weeks_until(last: str, *, count: int) -> list[str]:
    """Return `count` weeks in the order of the calendar, `last` being the last one."""
    monday = monday_of(last)
    return [week_of(monday - number * WEEK) for number in range(count - 1, -1, -1)]
