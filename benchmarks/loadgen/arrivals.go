package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A burst lasts half a second on average at three times the rate; between bursts it is half of it, so the mean is the rate.
const (
	highFactor  = 3.0
	lowFactor   = 0.5
	highShare   = 0.2
	highSeconds = 0.5
)

// schedule gives the intended send times from 0 up to the span; nil for a closed loop, which has none.
func schedule(arrivals string, rate float64, span time.Duration, seed uint64) ([]time.Duration, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	seconds := span.Seconds()
	switch arrivals {
	case closed:
		return nil, nil
	case "paced":
		times := make([]time.Duration, 0, int(rate*seconds)+1)
		for index := 0; float64(index)/rate < seconds; index++ {
			times = append(times, duration(float64(index)/rate))
		}
		return times, nil
	case "poisson":
		return poisson(random, nil, rate, 0, seconds), nil
	case "bursty":
		var times []time.Duration
		lowSeconds := highSeconds * (1 - highShare) / highShare
		for now, high := 0.0, false; now < seconds; high = !high {
			mean, factor := lowSeconds, lowFactor
			if high {
				mean, factor = highSeconds, highFactor
			}
			end := min(seconds, now+random.ExpFloat64()*mean)
			times = poisson(random, times, rate*factor, now, end)
			now = end
		}
		return times, nil
	}
	return nil, fmt.Errorf("arrivals %q: expected closed, paced, poisson or bursty", arrivals)
}

func poisson(random *rand.Rand, times []time.Duration, rate, from, to float64) []time.Duration {
	for now := from + random.ExpFloat64()/rate; now < to; now += random.ExpFloat64() / rate {
		times = append(times, duration(now))
	}
	return times
}
