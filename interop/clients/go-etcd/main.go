// Go's mutex of etcd's own concurrency package as a program that a test can talk to; the words are in src/driver.rs.
//
//	client concurrency PORT
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const longest = time.Minute

type client struct {
	session *concurrency.Session
	held    map[string]*concurrency.Mutex
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(word string) int64 {
	value, err := strconv.ParseInt(word, 10, 64)
	must(err)
	return value
}

// Takes the key, or returns nil: at once without a limit, else when it has passed.
func (c *client) take(key string, limit time.Duration) *concurrency.Mutex {
	mutex := concurrency.NewMutex(c.session, key)
	var err error
	if limit == 0 {
		err = mutex.TryLock(context.Background())
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		err = mutex.Lock(ctx)
	}
	if errors.Is(err, concurrency.ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	must(err)
	return mutex
}

func (c *client) count(key string, times int64, path string, pause time.Duration) int {
	me := strconv.Itoa(os.Getpid())
	others := 0
	for range times {
		mutex := c.take(key, longest)
		if mutex == nil {
			must(errors.New("no turn within a minute"))
		}
		text, err := os.ReadFile(path)
		must(err)
		words := strings.Fields(string(text))
		time.Sleep(time.Millisecond)
		must(os.WriteFile(path, fmt.Appendf(nil, "%d %s", number(words[0])+1, me), 0o644))
		if words[1] != me {
			others++
		}
		must(mutex.Unlock(context.Background()))
		time.Sleep(pause)
	}
	return others
}

func (c *client) answer(words []string) string {
	millis := func(word string) time.Duration { return time.Duration(number(word)) * time.Millisecond }
	switch words[0] {
	case "try", "wait":
		limit := time.Duration(0)
		if words[0] == "wait" {
			limit = millis(words[3])
		}
		mutex := c.take(words[1], limit)
		if mutex == nil {
			return "busy"
		}
		c.held[words[1]] = mutex
		return "held"
	case "release":
		if err := c.held[words[1]].Unlock(context.Background()); err != nil {
			return "gone"
		}
		return "released"
	case "count":
		return fmt.Sprintf("done %d", c.count(words[1], number(words[3]), words[4], millis(words[5])))
	}
	return "unknown " + strings.Join(words, " ")
}

func main() {
	if len(os.Args) < 3 || os.Args[1] != "concurrency" {
		must(errors.New("say concurrency PORT"))
	}
	config := clientv3.Config{Endpoints: []string{"127.0.0.1:" + os.Args[2]}, DialTimeout: longest}
	connection, err := clientv3.New(config)
	must(err)
	session, err := concurrency.NewSession(connection)
	must(err)
	c := &client{session: session, held: map[string]*concurrency.Mutex{}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(c.answer(strings.Fields(lines.Text())))
	}
	must(session.Close())
}
