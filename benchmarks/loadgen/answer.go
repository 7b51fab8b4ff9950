package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// response is one HTTP/1.1 answer as far as the generator needs it.
type response struct {
	status     int
	body       []byte
	jsonLength int // Inference-Header-Content-Length, -1 without
	closes     bool
}

var (
	errIncomplete = errors.New("incomplete")
	errMalformed  = errors.New("malformed")

	headEnd = []byte("\r\n\r\n")
	lineEnd = []byte("\r\n")
)

// parseResponse reads one answer at the start of data and tells its length in bytes. At the end of the stream an
// answer without a length is complete.
func parseResponse(data []byte, ended bool) (response, int, error) {
	found := response{jsonLength: -1}
	head := bytes.Index(data, headEnd)
	if head < 0 {
		return found, 0, errIncomplete
	}
	if head < 12 || !bytes.HasPrefix(data, []byte("HTTP/1.")) {
		return found, 0, errMalformed
	}
	status, err := number(data[9:12])
	if err != nil {
		return found, 0, errMalformed
	}
	found.status = status
	found.closes = data[7] == '0'
	length, chunked, err := found.readHeaders(data[:head+2])
	if err != nil {
		return found, 0, err
	}
	start := head + len(headEnd)
	switch {
	case status == 100:
		following, size, err := parseResponse(data[start:], ended)
		return following, start + size, err
	case chunked:
		body, size, err := unchunk(data[start:])
		found.body = body
		return found, start + size, err
	case length >= 0:
		if len(data) < start+length {
			return found, 0, errIncomplete
		}
		found.body = data[start : start+length]
		return found, start + length, nil
	case !ended:
		return found, 0, errIncomplete
	}
	found.body, found.closes = data[start:], true
	return found, len(data), nil
}

func (found *response) readHeaders(head []byte) (length int, chunked bool, err error) {
	length = -1
	for position := bytes.Index(head, lineEnd) + 2; position < len(head); {
		end := position + bytes.Index(head[position:], lineEnd)
		name, value, _ := bytes.Cut(head[position:end], []byte(":"))
		value = bytes.TrimSpace(value)
		// By length first: comparing every header with four names would cost more than the rest.
		switch len(name) {
		case len("content-length"):
			if bytes.EqualFold(name, []byte("content-length")) {
				if length, err = number(value); err != nil {
					return
				}
			}
		case len("transfer-encoding"):
			chunked = chunked || bytes.EqualFold(name, []byte("transfer-encoding")) && bytes.EqualFold(value, []byte("chunked"))
		case len("connection"):
			found.closes = found.closes || bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(value, []byte("close"))
		case len("inference-header-content-length"):
			if bytes.EqualFold(name, []byte("inference-header-content-length")) {
				if found.jsonLength, err = number(value); err != nil {
					return
				}
			}
		}
		position = end + 2
	}
	return
}

func unchunk(data []byte) ([]byte, int, error) {
	var body []byte
	for position := 0; ; {
		end := bytes.Index(data[position:], lineEnd)
		if end < 0 {
			return nil, 0, errIncomplete
		}
		text, _, _ := bytes.Cut(data[position:position+end], []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 31)
		if err != nil {
			return nil, 0, errMalformed
		}
		position += end + 2
		if len(data) < position+int(size)+2 {
			return nil, 0, errIncomplete
		}
		body = append(body, data[position:position+int(size)]...)
		position += int(size) + 2
		if size == 0 {
			return body, position, nil
		}
	}
}

func number(text []byte) (int, error) {
	value := 0
	for _, digit := range text {
		if digit < '0' || digit > '9' || value > 1<<30 {
			return 0, errMalformed
		}
		value = value*10 + int(digit-'0')
	}
	if len(text) == 0 {
		return 0, errMalformed
	}
	return value, nil
}

// right tells whether the answer holds exactly the expected numbers, within the tolerance.
func (answer *Answer) right(found response, expected []float64, tolerance float64) bool {
	if answer.Kind == "binary" {
		return binaryRight(found, expected, tolerance)
	}
	return jsonRight(found.body, answer.Key, expected, tolerance)
}

func binaryRight(found response, expected []float64, tolerance float64) bool {
	if found.jsonLength < 0 || found.jsonLength > len(found.body) {
		return false
	}
	values := found.body[found.jsonLength:]
	if len(values) != 4*len(expected) {
		return false
	}
	for index, wanted := range expected {
		value := math.Float32frombits(binary.LittleEndian.Uint32(values[4*index:]))
		if !near(float64(value), wanted, tolerance) {
			return false
		}
	}
	return true
}

// jsonRight reads the numbers of the (nested) list behind the key; nothing else may be in it.
func jsonRight(body []byte, key string, expected []float64, tolerance float64) bool {
	position := keyEnd(body, key)
	if position < 0 {
		return false
	}
	depth, count := 0, 0
	for position < len(body) {
		switch letter := body[position]; {
		case letter == '[':
			depth++
			position++
		case letter == ']':
			if depth--; depth == 0 {
				return count == len(expected)
			}
			position++
		case letter == ',' || letter == ' ' || letter == '\n' || letter == '\r' || letter == '\t':
			position++
		default:
			end := numberEnd(body, position)
			if depth == 0 || count == len(expected) || end == position {
				return false
			}
			text := body[position:end]
			value, err := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
			if err != nil || !near(value, expected[count], tolerance) {
				return false
			}
			count++
			position = end
		}
	}
	return false
}

// keyEnd is the position behind `"key":`, 0 for no key, -1 when the body has none.
func keyEnd(body []byte, key string) int {
	if key == "" {
		return 0
	}
	for from := 0; ; {
		found := bytes.Index(body[from:], []byte(key))
		if found < 0 {
			return -1
		}
		start, end := from+found, from+found+len(key)
		from = end
		if start == 0 || body[start-1] != '"' || end >= len(body) || body[end] != '"' {
			continue
		}
		for end++; end < len(body) && body[end] <= ' '; end++ {
		}
		if end < len(body) && body[end] == ':' {
			return end + 1
		}
	}
}

func numberEnd(body []byte, position int) int {
	for ; position < len(body); position++ {
		switch letter := body[position]; {
		case letter >= '0' && letter <= '9', letter == '-', letter == '+', letter == '.', letter == 'e', letter == 'E':
		default:
			return position
		}
	}
	return position
}

func near(value, wanted, tolerance float64) bool {
	return math.Abs(value-wanted) <= tolerance*math.Max(math.Abs(wanted), 1)
}
