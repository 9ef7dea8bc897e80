// Package lines is what the Go clients of the matrix have in common: the lines of tests/clients/README.md.
package lines

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Header is one header of a record; of one key there may be several.
type Header struct {
	Key   string
	Value []byte
}

// Record is what is written and read; a nil key or value is null.
type Record struct {
	Offset, Timestamp int64
	Key, Value        []byte
	Headers           []Header
}

// Check ends the process when something went wrong.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Lacks ends with the exit code for what a client does not offer; the matrix says why.
func Lacks(what string) {
	fmt.Fprintln(os.Stderr, "this client has no "+what)
	os.Exit(3)
}

func octets(field string) []byte {
	if field == "-" {
		return nil
	}
	value, err := hex.DecodeString(field)
	Check(err)
	return value
}

func text(value []byte) string {
	if value == nil {
		return "-"
	}
	return hex.EncodeToString(value)
}

// Input are the lines of standard input.
func Input() *bufio.Scanner {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 16<<20)
	return input
}

// Parse makes a record of its fields.
func Parse(field []string) Record {
	timestamp, err := strconv.ParseInt(field[0], 10, 64)
	Check(err)
	record := Record{Timestamp: timestamp, Key: octets(field[1]), Value: octets(field[2])}
	for _, header := range strings.Split(field[3], ",") {
		if key, value, found := strings.Cut(header, ":"); found {
			record.Headers = append(record.Headers, Header{key, octets(value)})
		}
	}
	return record
}

// Given are the records on standard input.
func Given() (records []Record) {
	lines := Input()
	for lines.Scan() {
		records = append(records, Parse(strings.Split(lines.Text(), "\t")))
	}
	Check(lines.Err())
	return records
}

// Show prints a record that was read.
func Show(record Record) {
	var headers []string
	for _, header := range record.Headers {
		headers = append(headers, header.Key+":"+text(header.Value))
	}
	fmt.Printf("%d\t%d\t%s\t%s\t%s\n", record.Offset, record.Timestamp, text(record.Key), text(record.Value), strings.Join(headers, ","))
}

var saying sync.Mutex

// Say prints what a member was given or gave back.
func Say(word string, partitions []int32) {
	slices.Sort(partitions)
	numbers := strings.Trim(strings.ReplaceAll(fmt.Sprint(partitions), " ", ","), "[]")
	Line("%s %s", word, numbers)
}

// Line prints one line, from whatever goroutine.
func Line(format string, values ...any) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Printf(format+"\n", values...)
}

// ToldToStop is closed when standard input ends.
func ToldToStop() <-chan struct{} {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	return stop
}

// Settings are the arguments `name=value`.
func Settings(arguments []string) map[string]string {
	settings := map[string]string{"session.timeout.ms": "6000"}
	for _, argument := range arguments {
		name, value, _ := strings.Cut(argument, "=")
		settings[name] = value
	}
	return settings
}
