use std::mem::MaybeUninit; use std::time::Instant; use zonal::*;
fn main(){
 let memory=[MemoryRange::new(0x100000,0x20_0000,0)];
 let t=Topology{memory:&memory,reserved:&[],nodes:1,distances:&[10],cpus:&[NodeId(0),NodeId(0)]};
 let c=Config::new(t); let n=metadata_size(&c).unwrap(); println!("meta {n}");
 let mut m=vec![MaybeUninit::uninit();n];
 let z=PageAllocator::new(&c,OneCpu,&mut m).unwrap();
 let audit=|z:&PageAllocator<OneCpu>|{let s=z.audit(&mut |f|println!("FINDING {f}")); println!("{s:?}");};
 audit(&z);
 // cas
 let a=std::sync::atomic::AtomicU64::new(0); let mut cas=f64::MAX;
 for _ in 0..5{ let t0=Instant::now(); for _ in 0..1_000_000{ let v=std::hint::black_box(&a).load(std::sync::atomic::Ordering::Relaxed); let _=a.compare_exchange(v,v+1,std::sync::atomic::Ordering::SeqCst,std::sync::atomic::Ordering::Relaxed);} cas=cas.min(t0.elapsed().as_nanos() as f64/1e6);} println!("cas {cas:.2}");
 for o in [0u8,3,5,6,9]{ let r=Request::order(Order::new(o).unwrap()); let mut best=f64::MAX;
  for _ in 0..5{ let t0=Instant::now(); for _ in 0..1_000_00{ let p=z.alloc_raw(&r).unwrap(); unsafe{z.free_raw(std::hint::black_box(p),Order::new(o).unwrap()).unwrap()} } best=best.min(t0.elapsed().as_nanos() as f64/1e5);} println!("pair {o}: {best:.2} ns {:.2}",best/cas);}
 audit(&z);
 let r=Request::order(Order::ZERO); let n=65536; let mut v=Vec::with_capacity(n);
 let (mut ba,mut bf,mut br)=(f64::MAX,f64::MAX,f64::MAX);
 let mut rng=1u64;
 for _ in 0..7{ v.clear(); let t0=Instant::now(); for _ in 0..n{v.push(z.alloc_raw(&r).unwrap())} ba=ba.min(t0.elapsed().as_nanos() as f64/n as f64);
  let t0=Instant::now(); for p in &v{unsafe{z.free_raw(*p,Order::ZERO).unwrap()}} bf=bf.min(t0.elapsed().as_nanos() as f64/n as f64); 
  v.clear(); for _ in 0..n{v.push(z.alloc_raw(&r).unwrap())} for i in (1..n).rev(){ rng^=rng<<13; rng^=rng>>7; rng^=rng<<17; v.swap(i,(rng%(i as u64+1)) as usize);} 
  let t0=Instant::now(); for p in &v{unsafe{z.free_raw(*p,Order::ZERO).unwrap()}} br=br.min(t0.elapsed().as_nanos() as f64/n as f64); }
 println!("hold alloc {:.2} free {:.2} random {:.2}",ba/cas,bf/cas,br/cas);
 audit(&z); println!("drained {}",z.drain_all()); audit(&z);
 for o in 0..=18u8 { let o=Order::new(o).unwrap(); let f=z.alloc(&Request::order(o)); match f {Ok(f)=>{let _=f;}, Err(e)=>println!("{e}")} } audit(&z);
 let zn:Vec<_>=z.zones().collect(); println!("{zn:?}");
}
