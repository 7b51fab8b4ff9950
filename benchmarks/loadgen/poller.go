package main

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// poller is epoll without the runtime's scheduler in between: one thread, no goroutine per connection.
type poller struct {
	fd     int
	events [256]syscall.EpollEvent
}

const epollPwait2 = 441 // on every architecture; epoll_wait knows whole milliseconds only

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &poller{fd: fd}, err
}

func (poller *poller) add(fd int, events uint32) error {
	return syscall.EpollCtl(poller.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func (poller *poller) change(fd int, events uint32) error {
	return syscall.EpollCtl(poller.fd, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait gives the ready events, none after the timeout.
func (poller *poller) wait(timeout time.Duration) ([]syscall.EpollEvent, error) {
	spec := syscall.NsecToTimespec(max(0, timeout.Nanoseconds()))
	count, _, errno := syscall.RawSyscall6(epollPwait2, uintptr(poller.fd), uintptr(unsafe.Pointer(&poller.events[0])),
		uintptr(len(poller.events)), uintptr(unsafe.Pointer(&spec)), 0, 0)
	switch errno {
	case 0:
		return poller.events[:count], nil
	case syscall.EINTR:
		return nil, nil
	case syscall.ENOSYS:
		count, err := syscall.EpollWait(poller.fd, poller.events[:], int(timeout.Milliseconds()))
		if err == syscall.EINTR {
			return nil, nil
		}
		return poller.events[:max(count, 0)], err
	}
	return nil, errno
}

func read(fd int, buffer []byte) (int, syscall.Errno) {
	count, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
	return int(count), errno
}

func write(fd int, data []byte) (int, syscall.Errno) {
	// As send with MSG_NOSIGNAL: a peer that is gone is an error, not a signal.
	count, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)),
		syscall.MSG_NOSIGNAL, 0, 0)
	return int(count), errno
}

// connect waits for the handshake, which on loopback is immediate, for at most five seconds.
func connect(address netip.AddrPort) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	wait := syscall.NsecToTimeval(5 * time.Second.Nanoseconds())
	err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &wait)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()})
	}
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}
