// Redsync as a program that a test can talk to; the words are in src/driver.rs.
//
//	client redsync PORT [RETRY_MS]
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

const longest = time.Minute

type client struct {
	redsync *redsync.Redsync
	retry   time.Duration
	held    map[string]*redsync.Mutex
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

func monotonic() int64 {
	var now unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano()
}

func (c *client) mutex(key string, ttl time.Duration) *redsync.Mutex {
	options := []redsync.Option{redsync.WithExpiry(ttl), redsync.WithTries(1 << 30)}
	if c.retry > 0 {
		options = append(options, redsync.WithRetryDelay(c.retry))
	}
	return c.redsync.NewMutex(key, options...)
}

// Takes the key, or returns nil: at once without a limit, else when it has passed.
func (c *client) take(key string, ttl, limit time.Duration) *redsync.Mutex {
	mutex := c.mutex(key, ttl)
	var err error
	if limit == 0 {
		err = mutex.TryLock()
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		err = mutex.LockContext(ctx)
	}
	var taken *redsync.ErrTaken
	var nodeTaken *redsync.ErrNodeTaken
	if errors.As(err, &taken) || errors.As(err, &nodeTaken) || errors.Is(err, redsync.ErrFailed) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	must(err)
	return mutex
}

func count(c *client, key string, ttl time.Duration, times int64, path string, pause time.Duration) int {
	me := strconv.Itoa(os.Getpid())
	others := 0
	for range times {
		mutex := c.take(key, ttl, longest)
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
		if ok, err := mutex.Unlock(); !ok || err != nil {
			must(fmt.Errorf("lost the key while counting: %w", err))
		}
		time.Sleep(pause)
	}
	return others
}

func cycles(c *client, keys int64, seconds time.Duration) string {
	var group sync.WaitGroup
	var all sync.Mutex
	var samples []time.Duration
	end := time.Now().Add(seconds)
	for index := range keys {
		group.Add(1)
		go func() {
			defer group.Done()
			var mine []time.Duration
			mutex := c.mutex(fmt.Sprintf("cycle-%d", index), 10*time.Second)
			for start := time.Now(); start.Before(end); start = time.Now() {
				must(mutex.Lock())
				_, err := mutex.Unlock()
				must(err)
				mine = append(mine, time.Since(start))
			}
			all.Lock()
			samples = append(samples, mine...)
			all.Unlock()
		}()
	}
	group.Wait()
	slices.Sort(samples)
	return fmt.Sprintf("cycles %d %d", len(samples), samples[len(samples)/2].Microseconds())
}

func turns(c *client, key string, start, end int64, hold time.Duration) string {
	var notes strings.Builder
	notes.WriteString("turns")
	time.Sleep(time.Duration(start - monotonic()))
	for {
		asked := monotonic()
		mutex := c.take(key, 30*time.Second, max(time.Millisecond, time.Duration(end-asked)))
		if mutex == nil {
			fmt.Fprintf(&notes, " %d,0,0", asked)
			return notes.String()
		}
		begun := monotonic()
		time.Sleep(hold)
		ended := monotonic()
		_, err := mutex.Unlock()
		must(err)
		fmt.Fprintf(&notes, " %d,%d,%d", asked, begun, ended)
		if ended >= end {
			return notes.String()
		}
	}
}

// Holds many keys for as long as this process lives, each extended at a third of its TTL.
func hold(c *client, keys int64, ttl time.Duration) string {
	var group sync.WaitGroup
	limit := make(chan struct{}, 64)
	for index := range keys {
		group.Add(1)
		limit <- struct{}{}
		go func() {
			mutex := c.mutex(fmt.Sprintf("hold-%d", index), ttl)
			must(mutex.Lock())
			<-limit
			group.Done()
			for range time.Tick(ttl / 3) {
				_, err := mutex.Extend()
				must(err)
			}
		}()
	}
	group.Wait()
	return "holding"
}

func (c *client) answer(words []string) string {
	millis := func(word string) time.Duration { return time.Duration(number(word)) * time.Millisecond }
	yes := func(yes bool, word, other string) string {
		if yes {
			return word
		}
		return other
	}
	switch words[0] {
	case "try", "wait":
		limit := time.Duration(0)
		if words[0] == "wait" {
			limit = millis(words[3])
		}
		mutex := c.take(words[1], millis(words[2]), limit)
		if mutex != nil {
			c.held[words[1]] = mutex
		}
		return yes(mutex != nil, "held", "busy")
	case "release":
		ok, _ := c.held[words[1]].Unlock()
		return yes(ok, "released", "gone")
	case "count":
		others := count(c, words[1], millis(words[2]), number(words[3]), words[4], millis(words[5]))
		return fmt.Sprintf("done %d", others)
	case "cycles":
		seconds, err := strconv.ParseFloat(words[2], 64)
		must(err)
		return cycles(c, number(words[1]), time.Duration(seconds*float64(time.Second)))
	case "turns":
		return turns(c, words[1], number(words[2]), number(words[3]), time.Duration(number(words[4]))*time.Microsecond)
	case "hold":
		return hold(c, number(words[1]), millis(words[2]))
	}
	return "unknown " + strings.Join(words, " ")
}

func main() {
	if len(os.Args) < 3 || os.Args[1] != "redsync" {
		must(errors.New("say redsync PORT [RETRY_MS]"))
	}
	pool := goredis.NewPool(redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Args[2]}))
	c := &client{redsync: redsync.New(pool), held: map[string]*redsync.Mutex{}}
	if len(os.Args) > 3 {
		c.retry = time.Duration(number(os.Args[3])) * time.Millisecond
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(c.answer(strings.Fields(lines.Text())))
	}
}
