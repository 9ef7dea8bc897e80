package lines

import "strings"

// Transact does what standard input says about transactions, by its words, and answers every line.
func Transact(actions map[string]func(field []string) error, fenced func(error) bool) {
	Line("ready")
	input := Input()
	for input.Scan() {
		field := strings.Split(input.Text(), "\t")
		if err := actions[field[0]](field[1:]); err == nil {
			Line("ok")
		} else if fenced(err) {
			Line("fenced")
		} else {
			Line("error %v", err)
		}
	}
	Check(input.Err())
}

// Told is who reads and writes in transactions: when to go on, and by the end of standard input to stop.
type Told struct {
	Stop  chan struct{}
	lines chan struct{}
}

// Tell listens to standard input.
func Tell() Told {
	told := Told{make(chan struct{}), make(chan struct{}, 100)}
	go func() {
		for input := Input(); input.Scan(); {
			told.lines <- struct{}{}
		}
		close(told.Stop)
		close(told.lines)
	}()
	return told
}

// ToGoOn says that so many records are written, and waits to be told.
func (it Told) ToGoOn(count int) bool {
	Line("open %d", count)
	_, more := <-it.lines
	return more
}
