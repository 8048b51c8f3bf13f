package meter

import "time"

// IsNight reports whether the night surcharge applies at a wall clock time:
// from 20:00 until before 06:00, on any day.
func IsNight(at time.Time) bool { return at.Hour() >= 20 || at.Hour() < 6 }

// IsRush reports whether the rush hour surcharge applies at a wall clock time:
// Monday to Friday from 16:00 until before 20:00, except on legal holidays.
func IsRush(at time.Time) bool {
	switch at.Weekday() {
	case time.Saturday, time.Sunday:
		return false
	}
	return at.Hour() >= 16 && at.Hour() < 20 && !IsLegalHoliday(at)
}

// IsLegalHoliday reports whether the day of a wall clock time is a legal
// holiday: the federal holidays, on the Monday after when they fall on a Sunday
// (New York General Construction Law §24 and §25-a). It is computed for any
// year; Juneteenth counts from 2021.
func IsLegalHoliday(at time.Time) bool {
	year, month, day := at.Date()
	if isHoliday(year, month, day, at.Weekday()) {
		return true
	}
	if at.Weekday() != time.Monday {
		return false
	}
	before := time.Date(year, month, day-1, 0, 0, 0, 0, time.UTC)
	year, month, day = before.Date()
	return isFixedHoliday(year, month, day)
}

func isHoliday(year int, month time.Month, day int, weekday time.Weekday) bool {
	if isFixedHoliday(year, month, day) {
		return true
	}
	nth := (day + 6) / 7 // the how-manieth of its weekday in the month
	switch {
	case weekday == time.Monday && month == time.January:
		return nth == 3 // Martin Luther King Jr. Day
	case weekday == time.Monday && month == time.February:
		return nth == 3 // Washington's Birthday
	case weekday == time.Monday && month == time.May:
		return day > 31-7 // Memorial Day, the last Monday
	case weekday == time.Monday && month == time.September:
		return nth == 1 // Labor Day
	case weekday == time.Monday && month == time.October:
		return nth == 2 // Columbus Day
	case weekday == time.Thursday && month == time.November:
		return nth == 4 // Thanksgiving
	}
	return false
}

func isFixedHoliday(year int, month time.Month, day int) bool {
	switch month {
	case time.January:
		return day == 1
	case time.June:
		return day == 19 && year >= 2021
	case time.July:
		return day == 4
	case time.November:
		return day == 11
	case time.December:
		return day == 25
	}
	return false
}
